"""How a guest's network card reaches Open vSwitch."""
