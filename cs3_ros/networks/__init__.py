"""Every ``nn.Module``, and the file format that it is kept in.

Networks are built from the configuration in their files; stages use them, they use no stage.
"""
