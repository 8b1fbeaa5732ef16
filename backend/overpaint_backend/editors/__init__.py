"""Finding Krita and GIMP on this machine and giving them their plug-in."""
