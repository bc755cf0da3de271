"""How a network is wired: what it is made of, who calls what, who takes whose output, and how parts are replaced.

Outside of this room nothing registers a hook, walks over modules, or puts a module in another's place: other rooms ask
by a layer's name. `trace` writes one pass down; `survey` says of every layer how it is reached and called, and why it
may have to be left alone; `uses`, `ends`, `calls`, `reached` and `norms` answer questions about that. `observe` and
`change` look at what flows and alter it; `replace`, `walk` and `stand_in` put other modules in; `opened`, `wrappers`,
`oddities` and `reparametrized` know what people make of modules; `agreement` proves that the function is the same.
"""
