"""How the bundled weights were made, so that anyone can make them again.

`python -m training` (or `make train`) downloads openly licensed icons and fonts, renders logos from them, and makes
each look like a crop from a photo of packaging. It starts from the published ImageNet weights of EfficientNet-Lite0,
and trains the network to recognise which crops show the same logo. No photo of a logo is used: photographs are only
backgrounds.
"""
