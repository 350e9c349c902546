"""What nbconvert does with a notebook of the course: each picture comes with its words."""

import html

from nbconvert.preprocessors import Preprocessor


class WordsForPictures(Preprocessor):
    """Give each picture its text for those who do not see it; nbconvert's own pages leave it out.

    `binder/jupyter_nbconvert_config.json`, which set-up copies to where Jupyter looks, puts it to work.
    """

    enabled = True

    def preprocess_cell(self, cell, resources, _):
        for output in cell.get("outputs", []):
            words = output.get("metadata", {}).get("image/png", {}).get("alt")
            if words:
                source = f"data:image/png;base64,{output.data.pop('image/png')}".replace("\n", "")
                output.data["text/html"] = f'<img alt="{html.escape(words)}" src="{source}" style="max-width: 100%">'
        return cell, resources
