"""Data sets for the setting data.target. Each function returns x, y and, if there are test images, x_test and y_test.

A function with an argument `folder` gets machine.data_dir, one with an argument `path` gets data.path.
"""
