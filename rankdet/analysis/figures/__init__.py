"""The figures of the papers, for any training: a function that gathers the data of each, and one
that draws them.

====================  ===========================================================  ==============
function              what it shows                                                in the paper
====================  ===========================================================  ==============
``ap_curves``         AP against iterations of training                            TPAMI, 6
``scatter``           score against IoU of anchors                                 TPAMI, 7
``convergence``       AP-loss under three methods of optimisation                  TPAMI, 8a
``imbalance``         final AP-loss against the samples of an image                TPAMI, 8b
``loss_time``         time and memory of the loss over a training                  TPAMI, 10
``loss_cost``         time and memory of the loss by batch size                    TPAMI, 9 and 11
``balance``           aLRP Loss, its parts and the self-balancing weight           aLRP, 3
``gradients``         gradients of negatives against those of positives            aLRP, 4
``drift``             a distribution of scores under lambda                        DR, 2
``surrogates``        the hinge and its smooth variants                            DR, 3
``densities``         densities of foreground and background scores                DR, 4 and 5
``push``              where in the ranking AP, AUC and focal loss push             none
====================  ===========================================================  ==============

Each returns a dict that JSON can hold after :func:`plain`; ``draw_...`` makes the figure of it, and
:func:`save` leaves PNG, SVG and JSON, from which :func:`load` reads the data again. Trainings come
from :func:`open_runs`.
"""

import rankdet.plugin  # noqa: F401  before any import of MMDetection

from .ap_curves import ap_curves, draw_ap_curves
from .balance import balance, draw_balance
from .convergence import Trials, convergence, draw_convergence, draw_imbalance, imbalance
from .cost import draw_loss_cost, draw_loss_time, loss_cost, loss_time
from .densities import densities, draw_densities, draw_separation
from .drift import draw_drift, drift
from .gradients import draw_gradients, gradients
from .push import draw_push, push, push_table
from .runs import Run, open_runs
from .scatter import draw_scatter, scatter
from .style import load, plain, save
from .surrogates import draw_surrogates, surrogates

__all__ = [
    'Run',
    'Trials',
    'ap_curves',
    'balance',
    'convergence',
    'densities',
    'draw_ap_curves',
    'draw_balance',
    'draw_convergence',
    'draw_densities',
    'draw_drift',
    'draw_gradients',
    'draw_imbalance',
    'draw_loss_cost',
    'draw_loss_time',
    'draw_push',
    'draw_scatter',
    'draw_separation',
    'draw_surrogates',
    'drift',
    'gradients',
    'imbalance',
    'load',
    'loss_cost',
    'loss_time',
    'open_runs',
    'plain',
    'push',
    'push_table',
    'save',
    'scatter',
    'surrogates',
]
