"""Lets `python -m napari_autostructn2v` be the command line."""

from napari_autostructn2v.cli import main

if __name__ == "__main__":
    main()
