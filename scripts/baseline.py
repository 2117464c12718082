"""The documents' experiment as the plain PyTorch script that most people would write; bench.py compares lrsweep with it.

    python scripts/baseline.py --lr 1e-3 --epochs 20

It uses only two parts of lrsweep: the MNIST files and the description of the machine. It prints one line of JSON. As in lrsweep,
the seconds of an epoch cover training and validation.
"""

import argparse
import copy
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset, random_split

from lrsweep.data.download import load_mnist
from lrsweep.data.sources import import_torchvision
from lrsweep.training.device import describe

torchvision = import_torchvision()  # like `import torchvision`, but it also works with a CPU-only torch

DATA_DIR = Path(__file__).parents[1] / "data"
BATCH_SIZE = 32
PATIENCE = 5  # epochs without a new best validation accuracy

Loader = DataLoader[tuple[Tensor, Tensor]]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.conv3 = nn.Conv2d(64, 64, 3)
        self.pool = nn.MaxPool2d(2)
        self.dense = nn.Linear(64 * 4 * 4, 64)
        self.output = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        x = F.relu(self.conv3(x))
        x = torch.flatten(x, 1)
        x = torch.sigmoid(self.dense(x))
        logits: Tensor = self.output(x)
        return logits


def load_datasets(num_train: int, num_valid: int, num_test: int) -> list[Dataset[Any]]:
    """torchvision.datasets.MNIST, reading a temporary copy of the project's files, so that nothing is downloaded."""
    mnist = load_mnist(DATA_DIR)
    arrays = {
        "train-images-idx3-ubyte": mnist.train_images,
        "train-labels-idx1-ubyte": mnist.train_labels,
        "t10k-images-idx3-ubyte": mnist.test_images,
        "t10k-labels-idx1-ubyte": mnist.test_labels,
    }
    transforms = torchvision.transforms
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
    with tempfile.TemporaryDirectory(prefix="lrsweep-baseline-") as root:
        raw = Path(root) / "MNIST" / "raw"
        raw.mkdir(parents=True)
        for name, array in arrays.items():
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (raw / name).write_bytes(header + array.tobytes())
        full_train, full_test = (torchvision.datasets.MNIST(root, train=t, transform=transform) for t in (True, False))
    train, valid, _ = random_split(full_train, [num_train, num_valid, len(full_train) - num_train - num_valid])
    return [train, valid, Subset(full_test, range(num_test))]


def run_epoch(
    model: nn.Module, loader: Loader, device: torch.device, optimizer: torch.optim.Optimizer | None = None
) -> tuple[float, float]:
    """Return the mean loss and accuracy of one epoch. Trains if there is an optimizer."""
    model.train(optimizer is not None)
    total_loss, num_correct, num_images = 0.0, 0, 0
    with torch.set_grad_enabled(optimizer is not None):
        for images, labels in loader:
            images, labels = images.to(device), labels.to(device)
            logits = model(images)
            loss = F.cross_entropy(logits, labels)
            if optimizer is not None:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            total_loss += loss.item() * len(labels)
            num_correct += int((logits.argmax(dim=1) == labels).sum().item())
            num_images += len(labels)
    return total_loss / num_images, num_correct / num_images


def run(lr: float, epochs: int, datasets: list[Dataset[Any]], device: torch.device) -> dict[str, Any]:
    train_loader, valid_loader, test_loader = (
        DataLoader(part, batch_size=BATCH_SIZE, shuffle=shuffle)
        for part, shuffle in zip(datasets, (True, False, False), strict=True)
    )
    model = Net().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    best_accuracy, best_epoch, best_weights = -1.0, 0, model.state_dict()
    seconds = []
    for epoch in range(1, epochs + 1):
        start = time.perf_counter()
        run_epoch(model, train_loader, device, optimizer)
        _, accuracy = run_epoch(model, valid_loader, device)
        if accuracy > best_accuracy:
            best_accuracy, best_epoch, best_weights = accuracy, epoch, copy.deepcopy(model.state_dict())
        seconds.append(time.perf_counter() - start)
        if epoch - best_epoch >= PATIENCE:
            break

    model.load_state_dict(best_weights)
    _, test_accuracy = run_epoch(model, test_loader, device)
    return {"epochs": len(seconds), "seconds_per_epoch": seconds, "valid_accuracy": best_accuracy, "test_accuracy": test_accuracy}


def main() -> None:
    parser = argparse.ArgumentParser(description="The documents' experiment at one learning rate, in plain PyTorch.")
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=1_000, help="maximum number of epochs (default: %(default)s)")
    parser.add_argument("--num-train", type=int, default=3_000, help="training images (default: %(default)s)")
    parser.add_argument("--num-valid", type=int, default=5_000, help="validation images (default: %(default)s)")
    parser.add_argument("--num-test", type=int, default=10_000, help="test images (default: %(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="default: %(default)s")
    arguments = parser.parse_args()
    datasets = load_datasets(arguments.num_train, arguments.num_valid, arguments.num_test)
    device = torch.device(arguments.device)
    result = run(arguments.lr, arguments.epochs, datasets, device)
    print(json.dumps(result | {"environment": describe(device, workers=1)}))


if __name__ == "__main__":
    main()
