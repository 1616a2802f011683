# %% [markdown]
# # The quickstart from Python
#
# LeNet-5 on the 1,797 handwritten digits that ship inside scikit-learn: train three epochs, look at the pictures, go on
# to five, and predict a digit. `visionlab fit --config experiments/quickstart.yaml` trains it from the command line.
#
# This notebook is built from `quickstart.py` by `build.py`; edit that.

# %%
from pathlib import Path

import numpy as np
from IPython.display import Image, display

from visionlab.experiment import Experiment
from visionlab.load import load
from visionlab.run import Run

# %% [markdown]
# ## A recipe, brought to life
#
# The arguments are those of the command line. Nothing runs yet. Weights & Biases is left out here; the run folder has
# the numbers anyway.

# %%
QUIET = ["--trainer.logger", "false", "--trainer.enable_progress_bar", "false"]

experiment = Experiment(["--config", "../experiments/quickstart.yaml", "--trainer.max_epochs", "3", *QUIET])
experiment.model.net

# %% [markdown]
# ## Train
#
# A run is one folder, which holds all that an experiment leaves.

# %%
run = Run.create(Path("../runs/notebook"), experiment.recipe)
trainer = experiment.start(run, record=True)
trainer.fit(experiment.model, datamodule=experiment.datamodule)
run.mark("stopped")

sorted(str(path.relative_to(run.folder)) for path in run.folder.rglob("*") if path.is_file())

# %% [markdown]
# ## Look
#
# Training images as the net gets them, and the validation images with the worst mistakes first: the truth, the
# prediction, and how sure it was.

# %%
for name in ("train_samples", "val_worst"):
    display(Image(run.folder / "pictures" / f"{name}.png"))

# %% [markdown]
# ## Go on
#
# The run continues where it stopped, to the bit as if it had not, in this process or another, with five epochs now.
# Then the weights that did best on the validation split are tested.

# %%
experiment = Experiment(["--config", str(run.folder / "config.yaml"), "--trainer.max_epochs", "5"])
run.reopen(experiment.recipe)
trainer = experiment.start(run, record=True)
trainer.fit(experiment.model, datamodule=experiment.datamodule, ckpt_path=run.newest_checkpoint())
results = trainer.test(experiment.model, datamodule=experiment.datamodule, ckpt_path=run.best, verbose=False)
run.mark("finished")

display(Image(run.folder / "pictures" / "curves.png"))
results

# %% [markdown]
# ## Predict
#
# From the folder alone: net, weights, data and class names. `loaded.data.read(path)` makes any image file fit.

# %%
loaded = load(run.folder)
digit = loaded.data.dataset("test").image(0)
scores = loaded.predict(np.stack([digit]))["scores"][0]

print(f"a {loaded.class_names[scores.argmax()]}, {float(scores.max()):.0%} sure")
