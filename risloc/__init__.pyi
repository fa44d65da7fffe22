"""The public names of risloc and where each lives: what type checkers read, and what `risloc/__init__.py` imports from."""

from risloc.covariance.factored import FactoredCovariance as FactoredCovariance
from risloc.covariance.factored import hybrid_covariance as hybrid_covariance
from risloc.covariance.factored import true_covariance as true_covariance
from risloc.covariance.snapshots import sample_covariance as sample_covariance
from risloc.estimation import music as music
from risloc.estimation import refine as refine
from risloc.estimation.localiser import Localiser as Localiser
from risloc.estimation.search_config import default_search as default_search
from risloc.io.measurement_reader import MeasurementReader as MeasurementReader
from risloc.io.measurement_writer import write_measurements as write_measurements
from risloc.io.measurements import Measurements as Measurements
from risloc.io.measurements import Setup as Setup
from risloc.io.measurements import measurements_of as measurements_of
from risloc.io.reading_options import Reading as Reading
from risloc.learning.loss import nmse as nmse
from risloc.learning.network import HybridNetwork as HybridNetwork
from risloc.locating.bound import bound as bound
from risloc.locating.covariances import covariances as covariances
from risloc.locating.found import Found as Found
from risloc.locating.locate import locate as locate
from risloc.locating.locate_arguments import LocateError as LocateError
from risloc.locating.locator import Locator as Locator
from risloc.locating.networks import load_model as load_model
from risloc.performance import crb as crb
from risloc.performance.metrics import gospa as gospa
from risloc.performance.metrics import match as match
from risloc.physics.geometry import location_of as location_of
from risloc.physics.geometry import polar_of as polar_of
from risloc.physics.geometry import position_of as position_of
from risloc.physics.steering import steering_matrix as steering_matrix
from risloc.plotting.static import plot_codebook as plot_codebook
from risloc.plotting.static import plot_curves as plot_curves
from risloc.plotting.static import plot_scene as plot_scene
from risloc.plotting.static import plot_spectrum as plot_spectrum
from risloc.scenes.batch import Observation as Observation
from risloc.scenes.batch import Scenes as Scenes
from risloc.scenes.batch import Truth as Truth
from risloc.scenes.named_scenario import scenario as scenario
from risloc.scenes.scenario import Scenario as Scenario
from risloc.scenes.simulation import simulate as simulate

__version__: str
