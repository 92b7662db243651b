"""LGM's network and that of the paper's release, as a model's Gaussian network."""

from pathlib import Path

from pipeline.published.parts import Part, network_facts
from pipeline.reconstruction.checkpoints import TRAINED_CAMERAS, load_checkpoint, preset_of
from pipeline.reconstruction.lgm import lgm_config
from pipeline.stages.reconstruct import INPUT_VIEWS, NETWORK


def gaussian_parts(path: Path, cameras: str) -> list[Part]:
    """The component in a .safetensors file, checked.

    Args:
        path: the file.
        cameras: a key of `TRAINED_CAMERAS`, which is also the weights' origin.

    Raises:
        ModelNotFound: it is none of LGM's networks, or does not fit it.
    """
    preset = preset_of(path)
    network = load_checkpoint(path, {**lgm_config(preset), **TRAINED_CAMERAS[cameras]})
    return [
        Part(
            component=NETWORK,
            origin=cameras,
            files={path.name: path},
            write=network.save_pretrained,
            facts={
                "preset": preset,
                **network_facts(network),
                "gaussians": INPUT_VIEWS * network.splat_px**2,
                "camera_radius": network.config.camera_radius,
                "fov_y_deg": network.config.fov_y_deg,
            },
        )
    ]
