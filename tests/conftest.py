"""Compiling is most of what the tests cost: XLA leaves out LLVM's costly passes."""

import os

os.environ.setdefault('XLA_FLAGS', '--xla_llvm_disable_expensive_passes=true')
