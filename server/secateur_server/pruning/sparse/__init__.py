"""Zeros that pay: sparse storage, and graphs that XNNPACK's sparse kernels take.

rewrite (equal graphs) -> weight pruning -> encode (CSR and DENSIFY) -> judge by measuring
"""
