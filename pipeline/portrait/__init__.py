"""From the bytes of a photo to framed, matted portraits with identity and camera."""
