"""The networks of the ``paper`` preset at full size: Stable Video Diffusion's, told of identity.

Each function builds fresh weights on torch's current device. On ``meta`` that costs nothing, which
is how an importer learns what a file must hold and a planner what a stage weighs.
"""

from diffusers import AutoencoderKLTemporalDecoder
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from pipeline.cameras import ORBIT_VIEWS
from pipeline.diffusion.conditions import IdentityProjection
from pipeline.diffusion.unet import OrbitUNet

LOWRES_PX, HIGHRES_PX = 256, 512
_LATENT_PX = 8
_TOKEN_DIM = 1024


def paper_unet(size_px: int) -> OrbitUNet:
    """The U-Net of a stage: the 1.5 G parameters of img2vid-xt, and 2 M that tell azimuths.

    Args:
        size_px: side of the views.
    """
    unet: OrbitUNet = OrbitUNet(
        orbit_views=ORBIT_VIEWS,
        sample_size=size_px // _LATENT_PX,
        cross_attention_dim=_TOKEN_DIM,
    )
    return unet


def paper_vae() -> AutoencoderKLTemporalDecoder:
    """Stable Video Diffusion's autoencoder, whose decoder sees neighbouring frames; 98 M."""
    return AutoencoderKLTemporalDecoder(
        down_block_types=("DownEncoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        sample_size=768,
    )


def paper_image_encoder() -> CLIPVisionModelWithProjection:
    """The image half of OpenCLIP's ViT-H/14, 632 M parameters."""
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=1280,
            intermediate_size=5120,
            projection_dim=_TOKEN_DIM,
            num_hidden_layers=32,
            num_attention_heads=16,
            image_size=224,
            patch_size=14,
            hidden_act="gelu",
        )
    )


def paper_identity_projection() -> IdentityProjection:
    """The MLP of the identity token, 2.6 M parameters, added to a video model without one."""
    projection: IdentityProjection = IdentityProjection(
        512, _TOKEN_DIM, hidden_layers=2, activation="relu", ends="residual"
    )
    return projection
