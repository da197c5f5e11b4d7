"""MedicalNet's weights are named and checked; nothing else passes for them."""

import pytest
import torch

from diffens_core.evaluation import features
from diffens_core.evaluation.features import MedicalNet
from diffens_core.support.settings import ConfigError


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file with the layout of `resnet_10_23dataset.pth` and random content."""
    from monai.networks.nets import resnet10

    torch.manual_seed(0)
    net = resnet10(spatial_dims=3, n_input_channels=1, feed_forward=False, shortcut_type="B", bias_downsample=False)
    path = tmp_path_factory.mktemp("weights") / "resnet_10_23dataset.pth"
    torch.save({"state_dict": {f"module.{name}": value for name, value in net.state_dict().items()}}, path)
    return path


def test_features_of_a_volume(weights):
    extractor = MedicalNet(weights)
    volume = torch.randn(1, 33, 40, 35, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    found = extractor(volume)
    assert found.shape == (512,) and torch.isfinite(found).all() and extractor.name == "medicalnet10"
    torch.testing.assert_close(extractor(volume), found)
    assert not torch.allclose(extractor(volume.flip(1)), found)


def test_the_file_is_named_by_its_hash(weights, tmp_path):
    import hashlib

    assert MedicalNet(weights).digest == hashlib.sha256(weights.read_bytes()).hexdigest()[:8]


def test_other_files_are_refused(weights, tmp_path):
    with pytest.raises(ConfigError, match="none.pth: no such file"):
        MedicalNet(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(ConfigError, match="not a torch checkpoint"):
        MedicalNet(tmp_path / "text.pth")
    content = torch.load(weights)
    del content["state_dict"]["module.conv1.weight"]
    torch.save(content, tmp_path / "cut.pth")
    with pytest.raises(ConfigError, match="not MedicalNet's ResNet-10"):
        MedicalNet(tmp_path / "cut.pth")


def test_a_download_that_fails_says_what_to_do(monkeypatch):
    def fails(*_):
        raise OSError("no network")

    monkeypatch.setattr(features, "hf_hub_download", fails)
    with pytest.raises(ConfigError, match="cannot be downloaded .no network.; give the path of resnet_50"):
        MedicalNet("download")
