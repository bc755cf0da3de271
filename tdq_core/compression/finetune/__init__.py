"""Fine-tuning without labels: a compressed model learns to answer as the dense one does.

Hinton, Vinyals, Dean, "Distilling the knowledge in a neural network" (2015).
"""
