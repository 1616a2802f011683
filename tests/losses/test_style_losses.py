import torch

from visionlab.losses.style import content, gram, style, total_variation


def features(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_gram_matrix_is_that_of_the_paper():
    """Johnson et al. 2016, equation 3, written out."""
    given = features(2, 3, 4, 5)
    found = gram(given)
    for image in range(2):
        for one in range(3):
            for other in range(3):
                total = sum(
                    float(given[image, one, y, x] * given[image, other, y, x]) for y in range(4) for x in range(5)
                )
                assert abs(float(found[image, one, other]) - total / (3 * 4 * 5)) < 1e-12


def test_losses_are_those_of_the_paper_image_by_image():
    """Equations 2 and 4."""
    given, wanted, of_style = features(2, 3, 4, 5), features(2, 3, 4, 5).flip(0), gram(features(1, 3, 7, 2))[0]
    for image in range(2):
        away = ((given[image] - wanted[image]) ** 2).sum() / (3 * 4 * 5)
        torch.testing.assert_close(content(given, wanted)[image], away)
        frobenius = torch.linalg.matrix_norm(gram(given[image : image + 1])[0] - of_style) ** 2
        torch.testing.assert_close(style(given, of_style)[image], frobenius)


def test_the_style_of_a_picture_stays_where_its_parts_change_places():
    given = features(1, 3, 4, 6)
    elsewhere = given.flatten(2)[..., torch.randperm(24, generator=torch.Generator().manual_seed(1))].view_as(given)
    assert float(style(elsewhere, gram(given)[0])) < 1e-24
    assert float(content(elsewhere, given)) > 0.1


def test_total_variation_is_that_of_neighbours():
    image = torch.tensor([[[[0.0, 1.0, 1.0], [0.0, 3.0, 1.0]]]])
    torch.testing.assert_close(total_variation(image), torch.tensor([(0 + 4 + 0) / 3 + (1 + 0 + 9 + 4) / 4]))
