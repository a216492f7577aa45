"""What happens to the gradient before the optimizer sees it."""


from nst_tf.tensors import Tensor, blur


def smooth(g: Tensor, share: float) -> Tensor:
    """g ← (1 − s) g + s B g, with B the binomial `blur`, (1 2 1)ᵀ(1 2 1)/16 for a picture, and the edges mirrored.

    Away from the edges B is symmetric with eigenvalues in [0, 1], so the result still points downhill (at the default
    s = 0.7 with the edges too) and vanishes where g does; only the finest frequencies move more slowly. Without it
    Adam, which gives every pixel the same step however small its gradient, weaves a pattern of one or two pixels into
    flat areas.

    Args:
        g: gradient by the pixels [B, *space, C], each side ≥ 2.
        share: s in [0, 1]; 0 leaves g as it is.
    """
    # Differs from Gatys et al. 2016, who use the gradient itself. The idea is that of a Sobolev gradient
    # (Neuberger 1997); the dream scripts of 2015 blur or normalize gradients by frequency for the same reason.
    if not share:
        return g
    return (1.0 - share) * g + share * blur(g)
