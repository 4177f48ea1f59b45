"""Words of the sample store's product texts: a small grammar of styles, materials, cuts and occasions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ProductClass:
    """How one class of clothing is named and described.

    Attributes:
        label: Category as the shop shows it.
        nouns: Names for a piece of this class.
        materials: What it may be made of.
        cuts: Sentences about shape and fit.
        plural: True when the nouns are plural ("these shorts").
        base_price: Price of a middle-tier piece, in euros.
    """

    label: str
    nouns: tuple[str, ...]
    materials: tuple[str, ...]
    cuts: tuple[str, ...]
    plural: bool
    base_price: float


CLASSES: dict[str, ProductClass] = {
    "dress": ProductClass(
        "Dresses",
        ("dress", "midi dress", "day dress", "wrap dress", "shift dress"),
        ("viscose", "cotton", "linen", "jersey", "chiffon", "satin"),
        (
            "The waist is lightly gathered and the skirt falls to the knee.",
            "A straight cut skims the body without clinging.",
            "Hidden side pockets and a concealed zip keep the line clean.",
            "The neckline is softly rounded and the back fastens with a single button.",
        ),
        False,
        59.0,
    ),
    "hat": ProductClass(
        "Hats",
        ("hat", "cap", "beanie", "bucket hat", "peaked cap"),
        ("wool", "cotton twill", "felt", "straw", "acrylic knit"),
        (
            "An inner band keeps it in place on windy days.",
            "One size, adjustable at the back.",
            "The crown is roomy enough for thick hair.",
            "It folds flat into a coat pocket and springs back into shape.",
        ),
        False,
        24.0,
    ),
    "longsleeve": ProductClass(
        "Long sleeves",
        ("long-sleeve top", "pullover", "sweatshirt", "jumper", "knit top"),
        ("merino wool", "brushed cotton", "cotton jersey", "fleece", "ribbed knit"),
        (
            "The sleeves are cut long enough to cover the wrists.",
            "Ribbed cuffs and hem hold their shape wash after wash.",
            "A regular fit leaves room for a shirt underneath.",
            "The crew neck is double stitched and does not sag.",
        ),
        False,
        44.0,
    ),
    "outwear": ProductClass(
        "Jackets and coats",
        ("jacket", "coat", "parka", "bomber jacket", "quilted vest"),
        ("waxed cotton", "wool blend", "nylon", "denim", "softshell"),
        (
            "Two deep front pockets and one inside take phone, keys and gloves.",
            "The lining is light, the collar stands up against the wind.",
            "A two-way zip lets you sit down comfortably.",
            "The shoulders are cut generously for a layer underneath.",
        ),
        False,
        119.0,
    ),
    "pants": ProductClass(
        "Trousers",
        ("trousers", "pants", "chinos", "jeans", "joggers"),
        ("stretch denim", "cotton twill", "corduroy", "wool blend", "jersey"),
        (
            "The leg narrows gently towards the ankle.",
            "A mid rise and a touch of stretch make them comfortable all day.",
            "Five pockets, belt loops and a sturdy zip.",
            "The hem can be worn long or turned up once.",
        ),
        True,
        64.0,
    ),
    "shirt": ProductClass(
        "Shirts",
        ("shirt", "blouse", "button-down shirt", "overshirt", "flannel shirt"),
        ("poplin", "oxford cotton", "linen", "flannel", "viscose"),
        (
            "The collar keeps its shape without a tie.",
            "Curved hem, to be worn tucked in or loose.",
            "A single chest pocket and tonal buttons finish it.",
            "The back yoke has a small pleat for freedom of movement.",
        ),
        False,
        49.0,
    ),
    "shoes": ProductClass(
        "Shoes",
        ("shoes", "sneakers", "loafers", "ankle boots", "trainers"),
        ("leather", "suede", "canvas", "mesh", "vegan leather"),
        (
            "The insole is padded and can be taken out.",
            "A flexible rubber sole grips on wet pavements.",
            "The heel is reinforced and the tongue softly lined.",
            "They run true to size and need hardly any breaking in.",
        ),
        True,
        89.0,
    ),
    "shorts": ProductClass(
        "Shorts",
        ("shorts", "bermuda shorts", "denim shorts", "chino shorts", "running shorts"),
        ("cotton twill", "denim", "linen blend", "quick-dry fabric", "jersey"),
        (
            "They end just above the knee.",
            "An elastic waist with a drawstring adapts to you.",
            "Deep side pockets hold more than a key.",
            "The inside leg is cut short for freedom to move.",
        ),
        True,
        34.0,
    ),
    "skirt": ProductClass(
        "Skirts",
        ("skirt", "pleated skirt", "A-line skirt", "pencil skirt", "midi skirt"),
        ("cotton", "wool blend", "denim", "satin", "viscose"),
        (
            "The waistband sits high and flatters the figure.",
            "It swings with every step and never rides up.",
            "A slit at the back makes stairs easy.",
            "Fully lined, with a hidden zip at the side.",
        ),
        False,
        45.0,
    ),
    "t": ProductClass(
        "T-shirts",
        ("t-shirt", "tee", "crew-neck t-shirt", "v-neck tee", "printed t-shirt"),
        ("organic cotton", "cotton jersey", "slub cotton", "linen jersey", "performance jersey"),
        (
            "The side seams stay straight after many washes.",
            "A regular cut with short sleeves and a soft neck tape.",
            "Slightly longer at the back so that it stays tucked in.",
            "The fabric is thick enough not to show through.",
        ),
        False,
        22.0,
    ),
}


@dataclass(frozen=True)
class Style:
    """How one planted style sounds.

    Attributes:
        adjectives: Words for titles.
        sentences: Sentences of a description; may use {it}, {is_are}, {noun}.
        occasions: What it is worn for; fills "made for {occasion}".
        queries: Words that shoppers type when they look for it.
        tier_shift: How much dearer than average pieces of this style are, in tiers.
    """

    adjectives: tuple[str, ...]
    sentences: tuple[str, ...]
    occasions: tuple[str, ...]
    queries: tuple[str, ...]
    tier_shift: float


STYLES: dict[str, Style] = {
    "casual": Style(
        ("casual", "easygoing", "relaxed", "everyday", "laid-back"),
        (
            "A relaxed everyday favourite for people who like it uncomplicated.",
            "Easygoing and soft, {it} {goes} with whatever you have on already.",
            "Casual comfort from breakfast to the last bus home.",
            "Throw {obj} on and forget about {obj}: laid-back is the whole idea.",
            "Nothing fussy, nothing loud, just an easy weekend {noun}.",
        ),
        ("lazy Sundays", "the weekend market", "a walk with the dog", "working from home", "a coffee with friends"),
        ("casual", "everyday", "comfortable", "relaxed", "weekend"),
        -0.3,
    ),
    "elegant": Style(
        ("elegant", "refined", "polished", "graceful", "sophisticated"),
        (
            "Elegant lines and a refined finish make every entrance a quiet event.",
            "Polished without being stiff, {it} {moves} from the office to the opera.",
            "A sophisticated {noun} with the calm of good tailoring.",
            "Graceful proportions, subtle sheen, and not a thread too many.",
            "For evenings that ask for something more refined.",
        ),
        ("dinner parties", "the theatre", "a gallery opening", "formal receptions", "a wedding in town"),
        ("elegant", "evening", "formal", "refined", "office"),
        0.7,
    ),
    "sporty": Style(
        ("sporty", "athletic", "active", "dynamic", "training-ready"),
        (
            "Athletic and light, {it} {keeps} up with your fastest kilometre.",
            "Sporty details and breathable panels for days with energy.",
            "Built for movement: stretch where you need it, support where it counts.",
            "An active {noun} that dries quickly and never gets in the way.",
            "From the training ground to the tram, dynamic all day long.",
        ),
        ("the gym", "a morning run", "training sessions", "the bike ride to work", "a game in the park"),
        ("sporty", "running", "gym", "breathable", "active"),
        0.0,
    ),
    "vintage": Style(
        ("vintage", "retro", "seventies-inspired", "nostalgic", "old-school"),
        (
            "A retro {noun} that looks as if your grandparents had kept {obj} in the attic for you.",
            "Vintage in spirit: faded tones, honest stitching and a little nostalgia.",
            "The seventies called and we did not give {obj} back.",
            "An old-school cut found in an archive and made new again.",
            "Nostalgic details, from the buttons to the label, tell a story.",
        ),
        ("flea markets", "record fairs", "a Sunday matinee", "garden parties", "a road trip in an old car"),
        ("vintage", "retro", "70s", "old school", "nostalgic"),
        0.1,
    ),
    "streetwear": Style(
        ("streetwear", "urban", "bold", "oversized", "skater"),
        (
            "Urban attitude, bold shape, made to be seen on the corner.",
            "Streetwear at its best: oversized, loud and ready for the night bus.",
            "A skater's {noun} with graphic edges and plenty of room.",
            "Straight from the block, {it} {sets} the tone without a word.",
            "Bold by day, bolder under neon lights.",
        ),
        ("the skate park", "late-night concerts", "city nights", "the block party", "hanging out downtown"),
        ("streetwear", "urban", "oversized", "skater", "bold"),
        0.0,
    ),
    "romantic": Style(
        ("romantic", "dreamy", "delicate", "whimsical", "bohemian"),
        (
            "Dreamy and delicate, {it} {brings} a breath of summer meadow.",
            "Romantic touches and a bohemian heart in every seam.",
            "A whimsical {noun} for people who press flowers in books.",
            "Soft gathers and delicate details, made for slow afternoons.",
            "Bohemian ease with a romantic note that never turns sweet.",
        ),
        ("picnics", "a beach holiday", "open-air festivals", "long summer evenings", "a stroll through the orchard"),
        ("romantic", "boho", "dreamy", "floral", "delicate"),
        0.1,
    ),
}

COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    "black": ("black", "jet-black", "ink-black"),
    "white": ("white", "off-white", "ivory"),
    "grey": ("grey", "stone-grey", "ash-grey"),
    "navy": ("navy", "midnight-blue", "dark blue"),
    "blue": ("blue", "sky-blue", "cornflower-blue"),
    "red": ("red", "cherry-red", "brick-red"),
    "pink": ("pink", "rose", "blush-pink"),
    "green": ("green", "olive-green", "moss-green"),
    "brown": ("brown", "chestnut", "cocoa-brown"),
    "beige": ("beige", "sand", "camel"),
    "yellow": ("yellow", "mustard", "sunflower-yellow"),
    "orange": ("orange", "rust", "apricot"),
    "purple": ("purple", "plum", "lilac"),
    "patterned": ("patterned", "printed", "multicoloured"),
}

TIER_SENTENCES: dict[int, tuple[str, ...]] = {
    1: (
        "A small price for something you will reach for again and again.",
        "Good value, simple to wash, ready for daily use.",
        "Kept simple so that it stays affordable.",
    ),
    2: (
        "Carefully made in Portugal.",
        "Machine washable at thirty degrees.",
        "Sewn by a family business that we have worked with for years.",
        "Pre-washed, so it will not shrink.",
    ),
    3: (
        "Hand-finished in a small Italian workshop and numbered inside.",
        "Only the finest yarn was good enough here.",
        "A premium piece that will outlast many seasons.",
    ),
}

MODEL_NAMES = (
    "Alma", "Aurel", "Bente", "Carlo", "Cleo", "Dorian", "Edda", "Elio", "Fenja", "Gaspard", "Hanne", "Ilse", "Ivo",
    "Jonna", "Kalle", "Lotte", "Maren", "Mika", "Nora", "Oskar", "Paloma", "Quinn", "Rosa", "Sander", "Tilda", "Uma",
    "Viggo", "Wanda", "Yara", "Zeno",
)  # fmt: skip
