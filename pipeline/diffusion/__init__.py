"""ID-TS: the paper's two-stage identity-aware multi-view diffusion (section 3.3)."""
