"""Float64 loops written from the paper's equations; they import NumPy alone."""
