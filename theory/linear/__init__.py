"""Linear Barlow Twins in closed form: flow, descent, momentum, depth, preconditioning."""
