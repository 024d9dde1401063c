"""Values: what a physical value means, whichever frame or file it came in."""
