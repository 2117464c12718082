"""Without a GPU, Triton's interpreter runs the Triton kernels in NumPy."""

import os

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported, which the first step of an optimizer does
