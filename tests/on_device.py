"""The device on which the tests of both engines run: LRSWEEP_TEST_DEVICE, by default the CPU. `make gpu` sets it to cuda."""

import os

import torch

from lrsweep.config import MachineConfig
from lrsweep.training.device import prepare_device

DEVICE = prepare_device(MachineConfig(device=os.environ.get("LRSWEEP_TEST_DEVICE", "cpu")))  # TF32 off
torch.backends.cudnn.deterministic = True  # because some tests compare bits
FP32_TOLERANCE = 1e-5 if DEVICE.type == "cpu" else 1e-4  # of gradients; cuDNN may choose convolutions that round more often
