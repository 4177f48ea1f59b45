"""Words of the sample store's reviews, in five languages and three moods, and the sentences of the spoken ones.

Each language has, for each mood, openings, remarks and closings; {noun} stands for the product's class.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mood:
    """Sentences of one mood; a review is an opening, one to three remarks, and perhaps a closing."""

    openings: tuple[str, ...]
    remarks: tuple[str, ...]
    closings: tuple[str, ...]


NOUNS: dict[str, dict[str, str]] = {
    "en": {
        "dress": "dress", "hat": "hat", "longsleeve": "top", "outwear": "jacket", "pants": "pair of trousers",
        "shirt": "shirt", "shoes": "pair of shoes", "shorts": "pair of shorts", "skirt": "skirt", "t": "t-shirt",
    },
    "de": {
        "dress": "Kleid", "hat": "Mütze", "longsleeve": "Pullover", "outwear": "Jacke", "pants": "Hose",
        "shirt": "Hemd", "shoes": "Schuhe", "shorts": "Shorts", "skirt": "Rock", "t": "T-Shirt",
    },
    "fr": {
        "dress": "robe", "hat": "chapeau", "longsleeve": "pull", "outwear": "veste", "pants": "pantalon",
        "shirt": "chemise", "shoes": "chaussures", "shorts": "short", "skirt": "jupe", "t": "t-shirt",
    },
    "es": {
        "dress": "vestido", "hat": "gorro", "longsleeve": "jersey", "outwear": "chaqueta", "pants": "pantalón",
        "shirt": "camisa", "shoes": "zapatos", "shorts": "pantalón corto", "skirt": "falda", "t": "camiseta",
    },
    "it": {
        "dress": "vestito", "hat": "cappello", "longsleeve": "maglione", "outwear": "giacca", "pants": "pantaloni",
        "shirt": "camicia", "shoes": "scarpe", "shorts": "pantaloncini", "skirt": "gonna", "t": "maglietta",
    },
}  # fmt: skip

MOODS: dict[str, dict[str, Mood]] = {
    "en": {
        "good": Mood(
            (
                "I love this {noun}.",
                "Absolutely delighted with this {noun}!",
                "Best {noun} I have bought in years.",
                "Exactly what I was hoping for.",
                "What a lovely {noun}.",
                "My new favourite {noun}, no contest.",
                "Bought it on a whim and do not regret it one bit.",
                "So happy with this purchase.",
                "This {noun} is even nicer than in the picture.",
                "Could not be more pleased.",
            ),
            (
                "The {colour} is gorgeous in daylight.",
                "The fit is perfect and nothing pinches.",
                "It feels soft on the skin and breathes well.",
                "I have had three compliments on it already.",
                "True to size, so order what you usually wear.",
                "The stitching is neat and it looks far more expensive than it was.",
                "It came out of the wash as good as new.",
                "Very {style} without trying too hard.",
                "I wore it all day at a wedding and forgot I had it on.",
                "Delivery took only two days and the parcel was nicely packed.",
                "My partner wants one too.",
                "The quality is excellent for the price.",
                "Warm enough for cool evenings and light enough to travel with.",
                "It goes with nearly everything in my wardrobe.",
            ),
            (
                "Highly recommended.",
                "I am going to order another colour.",
                "Five stars from me.",
                "Would buy again in a heartbeat.",
                "Thank you, this made my week.",
                "A keeper.",
            ),
        ),
        "mixed": Mood(
            (
                "A decent {noun}, nothing more.",
                "It is okay.",
                "Not bad, but not great either.",
                "I have mixed feelings about this {noun}.",
                "An average {noun} for everyday use.",
                "Does the job.",
            ),
            (
                "The {colour} is a little duller than in the photo.",
                "The cut is fine but the sleeves feel a bit odd.",
                "Runs slightly small, though I could live with it.",
                "The fabric is thinner than I expected, still comfortable.",
                "Nice idea, but the finishing could be better.",
                "It creases easily.",
                "I like the look, I am less sure about the price.",
                "It is less {style} than the description promises.",
                "Good for lounging at home, I would not wear it out.",
                "Delivery was slow, the product itself is all right.",
            ),
            (
                "I will keep it, but I would not buy it twice.",
                "Three stars seems fair.",
                "Fine if you find it in the sale.",
                "You get what you pay for.",
            ),
        ),
        "bad": Mood(
            (
                "Very disappointed with this {noun}.",
                "Sadly this {noun} went straight back.",
                "What a waste of money.",
                "I really wanted to like it, but no.",
                "Do not buy this {noun}.",
                "Terrible quality.",
                "This {noun} looks nothing like the picture.",
            ),
            (
                "A seam came apart after the second wash.",
                "The {colour} faded at once and stained everything else.",
                "It is scratchy and smells of plastic.",
                "Far too tight, even though I ordered one size up.",
                "The zip broke on the first day.",
                "There is nothing {style} about it, it just looks cheap.",
                "It arrived late, crumpled and with a stain.",
                "Customer service never answered my message.",
                "It shrank so much that it would fit a child now.",
                "The material is thin and you can see right through.",
            ),
            (
                "I want my money back.",
                "Never again.",
                "One star is one too many.",
                "Returned it the same afternoon.",
                "Stay away.",
            ),
        ),
    },
    "de": {
        "good": Mood(
            (
                "Ich bin begeistert!",
                "Genau so habe ich es mir vorgestellt.",
                "Mein neues Lieblingsstück: {noun} in Bestform.",
                "Sehr schön, ich bin rundum zufrieden.",
                "Klare Empfehlung für alle, die {noun} suchen.",
            ),
            (
                "Der Stoff fühlt sich weich und hochwertig an.",
                "Passt wie angegossen.",
                "Die Farbe leuchtet noch schöner als auf dem Foto.",
                "Nach dem Waschen sieht alles aus wie neu.",
                "Die Lieferung war nach zwei Tagen da.",
                "Ich habe schon viele Komplimente bekommen.",
                "Sauber verarbeitet und jeden Euro wert.",
            ),
            ("Gerne wieder.", "Fünf Sterne!", "Ich bestelle gleich noch eine andere Farbe."),
        ),
        "mixed": Mood(
            ("Ganz in Ordnung, mehr aber nicht.", "Ich bin unentschlossen.", "Durchschnittlich.", "Geht so."),
            (
                "Die Farbe ist etwas blasser als auf dem Bild.",
                "Fällt ein wenig klein aus.",
                "Der Stoff ist dünner als gedacht, aber bequem.",
                "Die Nähte könnten sauberer sein.",
                "Für den Preis hätte ich etwas mehr erwartet.",
            ),
            ("Im Angebot kann man es kaufen.", "Drei Sterne.", "Ich behalte es trotzdem."),
        ),
        "bad": Mood(
            ("Leider eine große Enttäuschung.", "Finger weg!", "Rausgeworfenes Geld.", "Das ging sofort zurück."),
            (
                "Nach der ersten Wäsche ist eine Naht aufgegangen.",
                "Viel zu eng und kratzig.",
                "Riecht stark nach Chemie.",
                "Die Farbe hat nichts mit dem Foto zu tun.",
                "Der Reißverschluss war schon kaputt.",
                "Der Kundendienst hat nie geantwortet.",
            ),
            ("Nie wieder.", "Ich möchte mein Geld zurück.", "Nicht zu empfehlen."),
        ),
    },
    "fr": {
        "good": Mood(
            ("Je suis ravie de mon achat !", "Un vrai coup de cœur.", "Superbe {noun}.", "Parfait, rien à redire."),
            (
                "La matière est douce et agréable à porter.",
                "La taille correspond exactement.",
                "La couleur est encore plus belle en vrai.",
                "Les finitions sont très soignées.",
                "Livraison rapide et emballage soigné.",
                "On m'a déjà fait plusieurs compliments.",
            ),
            ("Je recommande les yeux fermés.", "J'en rachèterai.", "Cinq étoiles méritées."),
        ),
        "mixed": Mood(
            ("Correct, sans plus.", "Avis mitigé.", "Pas mal, mais rien d'extraordinaire."),
            (
                "La couleur est plus terne que sur la photo.",
                "Le tissu est un peu fin.",
                "Taille un peu petit.",
                "Joli, mais les coutures pourraient être mieux.",
                "La livraison a pris du temps.",
            ),
            ("À acheter en solde.", "Je le garde quand même.", "Trois étoiles."),
        ),
        "bad": Mood(
            ("Très déçue.", "À éviter absolument.", "Quelle perte d'argent.", "Je l'ai renvoyé tout de suite."),
            (
                "Une couture a lâché dès le premier lavage.",
                "Le tissu gratte et sent mauvais.",
                "Beaucoup trop serré malgré la bonne taille.",
                "Rien à voir avec la photo.",
                "La couleur a déteint sur tout le reste.",
            ),
            ("Plus jamais.", "Je veux être remboursée.", "Une étoile, c'est déjà trop."),
        ),
    },
    "es": {
        "good": Mood(
            ("¡Me encanta!", "Estoy muy contenta con la compra.", "Un {noun} precioso.", "Justo lo que buscaba."),
            (
                "La tela es suave y de buena calidad.",
                "Queda perfecto, la talla es la correcta.",
                "El color es aún más bonito al natural.",
                "Llegó en dos días y muy bien envuelto.",
                "Después de lavarlo sigue como nuevo.",
                "Todo el mundo me pregunta dónde lo compré.",
            ),
            ("Lo recomiendo sin dudar.", "Repetiré seguro.", "Cinco estrellas."),
        ),
        "mixed": Mood(
            ("No está mal, pero esperaba más.", "Normal, sin más.", "Tengo mis dudas."),
            (
                "El color es más apagado que en la foto.",
                "La tela es algo fina.",
                "Talla un poco pequeño.",
                "El acabado podría ser mejor.",
                "Tardó bastante en llegar.",
            ),
            ("En rebajas vale la pena.", "Tres estrellas.", "Me lo quedo, pero no repetiría."),
        ),
        "bad": Mood(
            ("Una gran decepción.", "No lo compréis.", "Dinero tirado.", "Lo devolví enseguida."),
            (
                "Se descosió en el primer lavado.",
                "Pica mucho y huele mal.",
                "Demasiado estrecho aunque pedí mi talla.",
                "No se parece en nada a la foto.",
                "La cremallera llegó rota.",
            ),
            ("Nunca más.", "Quiero que me devuelvan el dinero.", "Muy mala calidad."),
        ),
    },
    "it": {
        "good": Mood(
            ("Bellissimo!", "Sono davvero contenta dell'acquisto.", "Proprio quello che cercavo.", "Ottima qualità."),
            (
                "Il tessuto è morbido e piacevole sulla pelle.",
                "Veste alla perfezione.",
                "Il colore dal vivo è ancora più bello.",
                "Cuciture curate e materiali solidi.",
                "Spedizione velocissima.",
                "Ho già ricevuto tanti complimenti.",
            ),
            ("Consigliatissimo.", "Lo ricomprerei subito.", "Cinque stelle."),
        ),
        "mixed": Mood(
            ("Nella media.", "Carino, ma niente di speciale.", "Così così."),
            (
                "Il colore è più spento che nella foto.",
                "La stoffa è un po' sottile.",
                "Veste leggermente piccolo.",
                "Per il prezzo mi aspettavo di più.",
                "La consegna è stata lenta.",
            ),
            ("Da comprare in saldo.", "Tre stelle.", "Lo tengo comunque."),
        ),
        "bad": Mood(
            ("Che delusione.", "Soldi buttati.", "Pessima qualità.", "Reso il giorno stesso."),
            (
                "Una cucitura ha ceduto al primo lavaggio.",
                "Il tessuto prude e ha un cattivo odore.",
                "Troppo stretto, anche con una taglia in più.",
                "Non assomiglia per niente alla foto.",
                "La cerniera era già rotta.",
            ),
            ("Mai più.", "Rivoglio i miei soldi.", "Sconsigliato."),
        ),
    },
}

# (stars, class spoken about, words), for espeak-ng; three to six seconds each.
SPOKEN: tuple[tuple[int, str, str], ...] = (
    (5, "dress", "I love this dress. It fits perfectly and the colour is beautiful."),
    (4, "dress", "A very pretty summer dress, light and easy to wash."),
    (2, "dress", "The dress was much too long and the zipper broke."),
    (5, "dress", "I wore it to a wedding and everybody asked where I bought it."),
    (5, "hat", "This hat keeps my head warm and it looks great."),
    (3, "hat", "The hat is fine, but it is a little too small for me."),
    (1, "hat", "The cap lost its shape after one day in the rain."),
    (4, "hat", "A good hat for the beach, it does not fly away."),
    (5, "longsleeve", "The sweater is soft and warm. I wear it every weekend."),
    (4, "longsleeve", "A nice warm top for cold mornings in the office."),
    (2, "longsleeve", "The sleeves are too short and the wool is scratchy."),
    (3, "longsleeve", "An average pullover, not bad and not special."),
    (5, "outwear", "This jacket kept me dry in heavy rain. Highly recommended."),
    (5, "outwear", "Best winter coat that I have ever had."),
    (1, "outwear", "The coat arrived late and one button was missing."),
    (4, "outwear", "I like the deep pockets and the big collar of this jacket."),
    (5, "pants", "These trousers are so comfortable that I bought two pairs."),
    (4, "pants", "Good jeans for a good price, and they fit very well."),
    (2, "pants", "The pants shrank in the first wash. I am not happy."),
    (3, "pants", "The trousers are okay, but the fabric feels thin."),
    (5, "shirt", "A wonderful shirt. The cotton feels soft on the skin."),
    (4, "shirt", "My husband wears this shirt to work almost every day."),
    (1, "shirt", "Terrible quality. The shirt had a hole under the arm."),
    (3, "shirt", "The shirt looks good but it is hard to iron."),
    (5, "shoes", "These shoes are light and I can run for hours in them."),
    (5, "shoes", "I walked twelve miles in these boots without any pain."),
    (2, "shoes", "The left shoe is bigger than the right shoe. I sent them back."),
    (4, "shoes", "Comfortable shoes for a long day in the city."),
    (5, "shorts", "Perfect shorts for the summer, with very useful pockets."),
    (4, "shorts", "I use these shorts for running and they dry quickly."),
    (1, "shorts", "The shorts fell apart after three weeks. Never again."),
    (3, "shorts", "Nice colour, but the shorts are shorter than I expected."),
    (5, "skirt", "This skirt moves beautifully when I dance."),
    (4, "skirt", "The skirt goes well with a white blouse and boots."),
    (2, "skirt", "The skirt is cheap and you can see right through it."),
    (5, "skirt", "My daughter loves her new skirt and wears it all the time."),
    (5, "t", "A simple white shirt with a perfect fit. I will order more."),
    (4, "t", "The print on this shirt is funny and it does not fade."),
    (1, "t", "After two washes the print was gone. What a waste of money."),
    (3, "t", "It is a normal t-shirt, nothing more and nothing less."),
)
