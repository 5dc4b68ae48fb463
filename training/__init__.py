"""How the bundled weights were made, so that anyone can make them again.

`python -m training` (or `make train`) downloads openly licensed icons and fonts, renders logos from them, makes each
one look like a crop from a photo of packaging, and trains EfficientNet-B0 to tell which crops show the same logo. No
photo and no pretrained weight goes in.
"""
