"""What differs from the defaults, one module a domain; `OVERRIDES` by field name."""
