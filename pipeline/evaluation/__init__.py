"""How good the views and avatars are: metrics, floors to beat, and the report."""
