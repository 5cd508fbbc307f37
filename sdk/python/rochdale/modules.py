"""TorchScript modules as models: what a founder signs of one. docs/models.md says what a module has
to be; the service checks that it is."""

import hashlib
import io

# A row's loss in f64 and in f32, as far as kernels and batches move it; nano-nats.
TOLERANCES = {"f64": 1_000, "f32": 20_000}


def describe(module: bytes, *, inputs: int, classes: int, input_values: int = 256,
             precision: str = "f64", tolerance_nanonats: int | None = None,
             deadband_nanonats: int | None = None, aten_capability: str = "default",
             blas_kernel: str = "Nehalem", library: str = "torch 1.13") -> dict:
    """The spec of a module for admin.create_model(torchscript=...): its digest, its parameters, and
    how it is evaluated. The defaults are what Debian's libtorch 1.13 can do on every x86-64
    processor; where programs were built with the libtorch of PyPI's torch 2.N (docs/devices.md) it
    is library="torch 2.N", blas_kernel="MKL". A deadband that is not given is four times the
    tolerance."""
    import torch  # only here: the rest of the package does without it

    loaded = torch.jit.load(io.BytesIO(module), map_location="cpu")
    tolerance = TOLERANCES[precision] if tolerance_nanonats is None else tolerance_nanonats
    deadband = 4 * tolerance if deadband_nanonats is None else deadband_nanonats
    parameters = sorted((name.encode(), list(value.shape))
                        for name, value in loaded.named_parameters())
    return {
        "module_sha256": hashlib.sha256(module).hexdigest(), "inputs": inputs,
        "input_values": input_values, "classes": classes,
        "parameters": [{"name": name.decode(), "shape": shape} for name, shape in parameters],
        "library": library, "precision": precision, "aten_capability": aten_capability,
        "blas_kernel": blas_kernel, "tolerance_nanonats": tolerance,
        "deadband_nanonats": deadband,
    }
