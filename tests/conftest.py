"""What all tests share: one thread each, since several workers share the processor."""

import os

# Before torch and numpy are loaded; child processes inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
