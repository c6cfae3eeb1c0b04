"""The main job: will a flight from New York leave more than 15 minutes late?"""
