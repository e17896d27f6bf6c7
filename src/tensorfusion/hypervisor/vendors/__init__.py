"""What the agent knows of one maker's devices. Each vendor is one module that satisfies ``base.Vendor``."""
