"""The parts of a recipe, until imports have moved to their files."""

from cosub.recipes.augmentation import Augment as Augment
from cosub.recipes.data import (
    SOURCES as SOURCES,
)
from cosub.recipes.data import (
    DataConfig as DataConfig,
)
from cosub.recipes.data import (
    Digits as Digits,
)
from cosub.recipes.data import (
    Folder as Folder,
)
from cosub.recipes.data import (
    Hub as Hub,
)
from cosub.recipes.data import (
    INaturalist as INaturalist,
)
from cosub.recipes.data import (
    Photographs as Photographs,
)
from cosub.recipes.data import (
    Pictures as Pictures,
)
from cosub.recipes.data import (
    Sampled as Sampled,
)
from cosub.recipes.data import (
    Scenes as Scenes,
)
from cosub.recipes.data import (
    Shards as Shards,
)
from cosub.recipes.data import (
    Table as Table,
)
from cosub.recipes.data import (
    Torchvision as Torchvision,
)
from cosub.recipes.inputs import Inputs as Inputs
from cosub.recipes.methods import (
    METHODS as METHODS,
)
from cosub.recipes.methods import (
    Cosub as Cosub,
)
from cosub.recipes.methods import (
    CosubDistill as CosubDistill,
)
from cosub.recipes.methods import (
    Cotrain as Cotrain,
)
from cosub.recipes.methods import (
    Distill as Distill,
)
from cosub.recipes.methods import (
    MeanTeacher as MeanTeacher,
)
from cosub.recipes.methods import (
    MethodConfig as MethodConfig,
)
from cosub.recipes.methods import (
    Supervised as Supervised,
)
from cosub.recipes.methods import (
    WithTeacher as WithTeacher,
)
from cosub.recipes.optimizer import Optimizer as Optimizer
from cosub.recipes.ranges import Strict as Strict
from cosub.recipes.ranges import require as require
from cosub.recipes.recipe import Recipe as Recipe
from cosub.recipes.recipe import method_for as method_for
from cosub.recipes.runtime import Runtime as Runtime
from cosub.recipes.tasks import (
    TASKS as TASKS,
)
from cosub.recipes.tasks import (
    Classification as Classification,
)
from cosub.recipes.tasks import (
    Segmentation as Segmentation,
)
from cosub.recipes.tasks import (
    TaskConfig as TaskConfig,
)
