"""Where Launchpad looks for `python.pybind`."""
