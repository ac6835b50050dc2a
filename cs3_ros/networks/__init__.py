"""Every ``nn.Module``, and the file format that it is kept in.

Networks are built from what their files say of themselves; stages use them, they use no stage.
"""
