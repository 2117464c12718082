"""Nothing yet to report."""
