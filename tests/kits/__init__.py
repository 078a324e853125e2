"""The testing kits themselves: the same promises under each of them."""
