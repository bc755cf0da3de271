"""How a network is wired: what it is made of, who calls what, who takes whose output, and how parts are replaced.

Outside of this room nothing registers a hook, walks over modules, or puts a module in another's place: other rooms ask
by a layer's name. `observe` and `change` look at what flows and alter it; `calls`, `uses`, `ends` and `norms` answer
questions about the wiring; `replace` and `walk` put other modules in; `agreement` proves that it is still the same
function.
"""
