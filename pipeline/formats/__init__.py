"""Files of Gaussians: a module a format, and `registry` that finds it by the file's ending."""
