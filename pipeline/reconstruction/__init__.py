"""From the views of a head to its Gaussians: the feed-forward network and the optimisation."""
