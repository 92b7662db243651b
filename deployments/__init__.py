"""Ray Serve: the same stage graph online."""
