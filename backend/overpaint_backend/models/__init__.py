"""The models on this computer: what is known, what is installed, how one gets here. Never imports torch.

A model is offered only when every file of it is in place and was hashed; see ``store``.
"""
