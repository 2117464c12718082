"""Compile every kernel of conv2_triton.py for an H100, and print the resources that each needs. Needs no H100.

python tests/fused/compiled_kernels.py          (without TRITON_INTERPRET; each line is JSON)
"""

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from lrsweep.fused import conv2_triton
from lrsweep.fused.conv2_kernel import CHUNK_IMAGES, TILINGS, Tile

_CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
_CONV2 = {"HEIGHT": 14, "WIDTH": 14, "IN": 32, "OUT": 64}
_TYPES = {"active": "*i32", "winner": "*u8", "num_images": "i32", "weight_stride": "i32", "bias_stride": "i32"}
_REGISTERS, _SHARED_BYTES, _THREADS = 65536, 228 * 1024, 2048  # of one multiprocessor of an H100
_RESERVED_BYTES = 1024  # shared memory that CUDA takes for each block


def resources(kernel: Any, tile: Tile, constants: dict[str, Any]) -> dict[str, Any]:
    constants = {name: value for name, value in constants.items() if name in kernel.arg_names}
    types = {name: "constexpr" if name in constants else _TYPES.get(name, "*fp32") for name in kernel.arg_names}
    # At each launch, Triton checks which arguments are multiples of 16. Here all are, except the address of the list of runs.
    multiples = {
        (i,): [["tt.divisibility", 16]] for i, name in enumerate(types) if types[name] != "constexpr" and name != "active"
    }
    options = {"num_warps": tile.num_warps, "num_stages": tile.num_stages}
    source = ASTSource(kernel, types, constants, multiples)
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    registers, stack = (int(number) for number in re.findall(r"(?:REG|STACK):(\d+)", _dump(compiled.asm["cubin"], "-res-usage")))
    blocks = min(
        _REGISTERS // (-(-registers // 8) * 8 * 32 * tile.num_warps),
        _SHARED_BYTES // (compiled.metadata.shared + _RESERVED_BYTES),
        _THREADS // (32 * tile.num_warps),
    )
    instructions = re.findall(
        r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ )?([A-Z][\w.]*)", _dump(compiled.asm["cubin"], "-sass"), re.M
    )
    return {
        "kernel": kernel.__name__,
        "tile": tile,
        "registers": registers,
        "spilled_bytes": stack,  # the kernels have no local arrays, so only spilled registers are on the stack
        "shared_bytes": compiled.metadata.shared,
        "warps": blocks * tile.num_warps,  # on one multiprocessor at once
        "products": sorted({name.split(".")[0] for name in instructions} & {"FFMA", "HMMA", "HGMMA"}),
        "narrow_loads": sum(bool(re.fullmatch(r"(LDG|LDGSTS)\.E(\.CONSTANT)?", name)) for name in instructions),
    }


def _dump(cubin: bytes, option: str) -> str:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run([_CUOBJDUMP, option, file.name], capture_output=True, text=True, check=True).stdout


def all_resources() -> Iterator[dict[str, Any]]:
    done = set()
    for precision, tilings in TILINGS.items():
        for tiling in tilings:
            for name, tile in tiling._asdict().items():
                if (precision, name, tile) not in done:
                    done.add((precision, name, tile))
                    sizes = {
                        "PRECISION": precision,
                        "PIXELS": tile.pixels,
                        "STEP": tile.width,
                        "IMAGES": CHUNK_IMAGES,
                    }
                    yield {"precision": precision} | resources(getattr(conv2_triton, f"{name}_kernel"), tile, _CONV2 | sizes)


if __name__ == "__main__":
    for needs in all_resources():
        print(json.dumps(needs), flush=True)
