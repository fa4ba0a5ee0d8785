"""How well a detector withstands perturbed images: Table 3 of the AP Loss paper (TPAMI).

- :mod:`rankdet.datasets.perturbations`: the perturbed images, as transforms of a test pipeline;
- :mod:`.detector`: a config with its checkpoint, its images, its AP;
- :mod:`.object_scores`: what a detector calls an object, as a differentiable function;
- :mod:`.adversarial_patch`: one picture that blinds a detector wherever it is put;
- :mod:`.deepfool`: the least change of an image that changes what an object is called;
- :mod:`.run`: all of it, kept as it goes; :mod:`.table`: detectors side by side.
"""
