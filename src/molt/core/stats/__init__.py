"""Numbers in, intervals and e-values out: the arithmetic of every ruling.

Nothing here knows a playbook, a gate or a clock. Evidence is always a natural logarithm of an
e-value: a number that is at most 1 on average, at whatever moment one looks, while the null
hypothesis holds; so `log_e >= log(1 / alpha)` is wrong at most a share `alpha` of the time
(Ville 1939; Ramdas, Gruenwald, Vovk and Shafer 2023). `None` means *no data*, never zero.
"""
