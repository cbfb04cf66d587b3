"""How rows teach: the loss, rare classes, changed copies, several models. Importable without torch or ray."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from training.package.shapes import StrictModel


class LossConfig(StrictModel):
    """What training makes small."""

    kind: Literal["cross_entropy", "focal", "mse", "huber", "quantile"] | None = Field(
        default=None,
        description="classes: cross_entropy (of each label by itself where data.task is multilabel; of the next token "
        "where it is language_modelling) or focal: rows that are right already count less (Lin et al. 2017); "
        "regression: mse, huber, quantile; null: cross_entropy or mse",
    )
    target: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="package.module:function of your own, in place of kind: (output (B, K), target (B,)) -> loss (B,); "
        "of a regression both in scales of the target, of several labels the target is (B, K)",
    )
    gamma: float = Field(default=2.0, ge=0, description="focal: how much less; 0 is cross_entropy")
    delta: float = Field(
        default=1.0, gt=0, description="huber: error, in scales of the target, from which it is linear"
    )
    quantile: float = Field(default=0.5, gt=0, lt=1, description="quantile: which one is predicted; 0.5: the median")

    @property
    def judged_quantile(self) -> float | None:
        """The quantile that is predicted; None where it is another number."""
        return self.quantile if self.kind == "quantile" else None

    @model_validator(mode="after")
    def _is_one_loss(self) -> Self:
        if self.kind is not None and self.target is not None:
            raise ValueError(f"kind={self.kind} and target={self.target} are two losses; leave one of them out")
        return self


class ImbalanceConfig(StrictModel):
    """For classes that are rare. Only training rows are weighted, drawn or made; never those that judge."""

    class_weights: Literal["balanced"] | dict[str, Annotated[float, Field(ge=0)]] | None = Field(
        default=None, description="balanced: a class counts as much as any other; or label -> weight of its rows"
    )
    sampling: Literal["balanced"] | None = Field(
        default=None, description="balanced: every class is drawn equally often in an epoch"
    )
    resample: Literal["oversample", "undersample", "smote"] | None = Field(
        default=None,
        description="before training: repeat rare rows, leave out common ones, or make new rows between neighbours "
        "(SMOTE; SMOTE-NC where there are categories)",
    )
    ratio: float = Field(
        default=1.0, gt=0, le=1, description="resample: rows of a rarer class, as a share of the most common one's"
    )
    threshold: Literal["f1", "balanced_accuracy", "mcc"] | Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="of two classes: probability from which the positive label is given, or the score that it is "
        "tuned for on the validation rows; null: the more probable label",
    )


class AugmentConfig(StrictModel):
    """Changed copies of the rows, made on the batch. The same for the same seed, epoch and place in it, by whomever."""

    flip: Literal["none", "horizontal", "vertical", "both"] = Field(
        default="none", description="images: mirrored at random along these directions"
    )
    shift: float = Field(default=0.0, ge=0, le=0.5, description="images: moved by up to this share of their size")
    rotate_degrees: float = Field(default=0.0, ge=0, le=180, description="images: turned by up to this angle")
    crop: float = Field(default=0.0, ge=0, lt=1, description="images: up to this share cut off, the rest enlarged")
    erase: float = Field(default=0.0, ge=0, lt=1, description="images: a rectangle of up to this share is blanked")
    noise: float = Field(default=0.0, ge=0, description="images and numbers: normal noise, in scales of the input")
    feature_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="tables: inputs replaced by their mean, or by unknown"
    )
    mixup: float = Field(
        default=0.0, ge=0, description="alpha of mixing a row with another (Zhang et al. 2018); 0: off"
    )
    cutmix: float = Field(
        default=0.0, ge=0, description="images: alpha of pasting a rectangle of another (Yun et al. 2019); 0: off"
    )

    @property
    def is_on(self) -> bool:
        """Whether anything is changed at all."""
        return self != AugmentConfig()


class EnsembleConfig(StrictModel):
    """Several models as one: each learns from its own bootstrap of class-balanced rows, and the mean answers."""

    members: int = Field(ge=2, le=64, description="models in it")
    balanced: bool = Field(default=True, description="draw every class equally often; only for a classification")
