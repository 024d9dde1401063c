"""Online: heads that learn one sample at a time."""
