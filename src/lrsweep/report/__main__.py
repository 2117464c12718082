from lrsweep.report.build import main

if __name__ == "__main__":
    main()
