"""The sounding objects of Clink! Chop! Thud! (Yang et al., ICCV 2025): their training."""
