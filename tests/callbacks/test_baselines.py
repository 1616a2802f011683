import json
from pathlib import Path

from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from stand_ins import FewDigits
from visionlab.cli import main


def test_stand_beside_the_net_with_the_score_that_scikit_learn_gives(recipe, capsys):
    words = ["--trainer.callbacks+", "visionlab.callbacks.baselines.PixelBaselines", "--trainer.logger", "false"]
    assert main(["fit", "--config", str(recipe), "--trainer.max_epochs", "1", *words]) == 0
    results = json.loads(Path("runs/tiny/0/results/test_baselines.json").read_text())
    data = FewDigits()
    train, test = data.dataset("train"), data.dataset("test")
    for name, method in {"logistic regression": LogisticRegression(max_iter=1000), "SVM": SVC()}.items():
        method.fit(train.images.reshape(len(train), -1) / 255, train.labels)
        score = method.score(test.images.reshape(len(test), -1) / 255, test.labels)
        assert results[name] == {"test/single_label/top1": score}
        assert score > 0.8
    out = capsys.readouterr().out.splitlines()
    (top1,) = [line for line in out if line.startswith("test/single_label/top1")]
    assert top1.split()[2:] == [f"{results[name]['test/single_label/top1']:.4f}" for name in results]
    (head,) = [line for line in out if "TinyNet" in line]
    assert head.split() == ["TinyNet", "logistic", "regression", "SVM"]
