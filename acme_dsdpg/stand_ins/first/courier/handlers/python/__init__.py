"""Where Launchpad looks for `pybind`."""
